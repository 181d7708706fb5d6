"""Measuring how far habits are from people's: HumanChatBench and teacher-forced measures."""
