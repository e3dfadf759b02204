"""The verbs, one file each, composing all the rooms below."""
