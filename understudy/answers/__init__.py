"""Teachers' answers that are kept: asked once for each view of a sample, then read from a file."""

from understudy.answers.options import StoredAnswers as StoredAnswers
