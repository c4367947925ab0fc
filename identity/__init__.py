"""Who signed these bytes?"""
