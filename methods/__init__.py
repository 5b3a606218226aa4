"""One distillation method a file; importing this package registers them all."""

import sys

from ddbench.registry import import_modules

import_modules(sys.modules[__name__])
