"""Lines that a person types and texts that others say, on one terminal at the same time. Knows no organism.

    keys editor history     bytes -> keys -> a line
    drawing harmless        what stands at the bottom of the screen; what may reach it
    tty above jobs          a terminal in raw mode; what is printed meanwhile; stops and ends
    plain                   pipes and files
    output                  texts on their way out
    face                    what a session sees of either

Own, for what there is reads lines in a loop of its own (asyncio's), or blocks and cannot draw the line
anew below what others say. ``console`` is its only user. Where there is no termios, ``tty`` and ``jobs``
cannot be imported, and ``plain`` does.
"""
