"""The live page, looked at: pictures of it for the documents, and what many open pages cost publication.

.venv/bin/python -m bench.live_page pictures
.venv/bin/python -m bench.live_page load
"""
