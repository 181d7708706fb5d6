"""Text out of a model: in this process, by llama.cpp, or over the network; and the prompts that are
sent.
"""
