"""An objective in the training loops of other libraries, one file a library; each needs that library."""
