"""A run: its objects, its loop's callbacks, its folder, and how it goes on where it was stopped."""
