"""Teachers' answers that are kept: asked once for each view of a sample, then read from a file."""

from understudy.stored.options import Stored as Stored
