"""Other people's names and everybody's numbers,
out of the chats before anything is made of them.
"""
