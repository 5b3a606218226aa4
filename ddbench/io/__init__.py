"""Files, safely: atomic writes, locks, bounded documents and archives."""
