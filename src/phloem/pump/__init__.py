"""The life of a message: from a stranger's bytes to the booked end of everything it caused."""

from .observer import LoggingObserver, Observer, Observers
from .routing import Listener

__all__ = ["Listener", "LoggingObserver", "Observer", "Observers"]
