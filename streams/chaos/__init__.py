"""`evenstream chaos`: kill anything, at any time, and hold what comes out against an oracle that knows every row."""
