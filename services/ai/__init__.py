"""The ai service: from a learner's audio to a tutor's spoken reply."""
