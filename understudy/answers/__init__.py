"""Stored answers: computed once for each view of a sample, then read from files."""

from understudy.answers.options import StoredAnswers as StoredAnswers
