"""Data sets as LightningDataModules that yield `x` `[T, B, *]` and `y` `[B]`."""
