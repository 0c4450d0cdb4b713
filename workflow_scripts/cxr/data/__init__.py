"""Images and tables: fetched, read, split, augmented."""
