"""The command line: one file per command, ``main`` for the entry point.

    app          the group, and the way every error takes
    demo init check schema graph send run console sim trace
                 the commands
    shell        options, logging and complaints they share
    batch        one organism over one batch
    source       a file or a pipe -> messages' bytes; what they become is ``phloem.framing``'s
    results writing
                 outcomes -> lines, in order
    simulation   many runs of one organism and one batch, and what they find
    simulating judging whole_batch
                 what is run, what is wrong with it, what is sent
    recording trace_lines trace_tree trace_diff
                 a run -> a file, and what is read from it
    console_session console_talks console_hearing console_commands
                 a sitting at the console: lines, conversations, what is heard, what is looked at
    console_lines console_requests console_answers console_trace
                 what a line means, what it sends, how an end is told
    terminal     a line that is typed while others speak; what may reach a terminal
    exit_codes signals interrupts standard progress sim_summary rich_console
                 how it ends, and what is seen of it

Outermost ring: imports everything, nobody imports it.
"""

from __future__ import annotations

from .app import main

__all__ = ["main"]
