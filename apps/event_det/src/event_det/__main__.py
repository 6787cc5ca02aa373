"""`python -m event_det` is the command event-det."""

from event_det.cli import main

main()
