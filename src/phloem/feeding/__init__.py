"""What brings many messages into one organism: streams, and batches with a result for each message.

Built on the pump's door, which every stranger comes in by; ``organism`` opens what is here.
"""
