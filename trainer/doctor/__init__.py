"""`ccd doctor`: looks at what a run needs, from versions to the labeler's speed, and says what to do about it.

One file a subject; each check yields findings and repairs nothing.
"""
