"""Names, aliases and what is registered under them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from ddbench.errors import UserError, suggestion

T = TypeVar("T")


def folded(name: str) -> str:
    """Return a name without case and signs."""
    return "".join(sign for sign in name.lower() if sign.isalnum())


class Registry(Generic[T]):
    """A mapping of names and aliases to registered objects.

    Args:
        kind: what the objects are ("method", "network"); it appears in messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._objects: dict[str, T] = {}
        self._aliases: dict[str, str] = {}
        self.modules: set[str] = set()
        """names of the modules that registered something"""

    def register(self, name: str, *, aliases: Iterable[str] = (), module: str | None = None) -> Callable[[T], T]:
        """Return a decorator that registers its object under `name` and `aliases`; a taken name raises ValueError.

        Args:
            module: name of the module that registers; None takes the one that defines the object
        """
        aliases = tuple(aliases)

        def decorate(thing: T) -> T:
            for taken in (name, *aliases):
                if taken in self:
                    raise ValueError(
                        f"{self.kind} {taken!r} is already registered by {origin(self.get(taken))}; "
                        f"choose another name in {origin(thing)}"
                    )
            self._objects[name] = thing
            self.modules.add(module or thing.__module__)
            self._aliases.update(dict.fromkeys(aliases, name))
            return thing

        return decorate

    def canonical(self, name: str) -> str:
        """Return the registered name for a name or an alias, whatever its case and signs, `RaT-BPTT` or `CIFAR-10`.

        Raises:
            UserError: for an unknown name; the message has the nearest one.
        """
        found = self.find(name)
        if found is None:
            raise UserError(f"unknown {self.kind} {name!r}; {suggestion(name, [*self._objects, *self._aliases])}")
        return found

    def find(self, name: str) -> str | None:
        """Return the registered name as `canonical` does; None for an unknown one."""
        if name in self:
            return self._aliases.get(name, name)
        alike = {self._aliases.get(one, one) for one in (*self._objects, *self._aliases) if folded(one) == folded(name)}
        return alike.pop() if len(alike) == 1 and folded(name) else None

    def get(self, name: str) -> T:
        """Return the object registered under a name or an alias."""
        return self._objects[self.canonical(name)]

    def aliases(self, name: str) -> list[str]:
        return sorted(alias for alias, target in self._aliases.items() if target == name)

    def __contains__(self, name: object) -> bool:
        return name in self._objects or name in self._aliases

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._objects))

    def __len__(self) -> int:
        return len(self._objects)


def origin(thing: Any) -> str:
    """Return the module and the name of a class or function."""
    return f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', repr(thing))}"
