"""What to believe?"""
