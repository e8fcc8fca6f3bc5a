"""Files and folders on disk: model folders, checkpoints, atomic writes, file systems."""
