"""Questions that need several distillations on derived data, one file each; `study.py` says what a study is."""
