"""Safe reading and writing of files: atomic writes, locks, bounded documents and archives."""
