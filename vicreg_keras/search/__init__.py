"""Which recipe is best, judged on held-out examples alone?"""
