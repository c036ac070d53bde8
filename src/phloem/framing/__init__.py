"""Bytes -> pieces -> messages to be, and payloads -> JSON. Pure: no trio, and nothing is read here.

lines documents  bytes -> one message's bytes
requests         one message's bytes -> a payload and where it goes
texts            what a person or a plain program writes -> a payload for one listener
framed           all of it for one stream in one framing
fields scalars   payloads <-> JSON fields

The command line builds on it, and what feeds streams and batches into an organism.
"""
