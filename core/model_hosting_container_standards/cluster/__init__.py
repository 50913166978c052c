"""State that servers on several machines share: one process keeps it for all.

The ``Coordinator`` is that process. It has the only table of adapters and of sessions,
and stores each change in a journal before it answers. Every server process is a member:
it has a copy of the registered adapters, and reports which of them its requests use.

The engine provides the connection between them, and the journal.
"""
