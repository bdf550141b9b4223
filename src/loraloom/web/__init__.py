"""The studio in a browser: a JSON API under /api/v1 and pages, both over the same functions.

Nothing here imports torch: whatever needs it is another process.
"""
