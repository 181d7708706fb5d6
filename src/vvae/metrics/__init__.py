"""What replies show, as functions of replies: HumanChatBench, habits, likelihoods, audits,
claims.
"""
