"""x"""


def build(search):
    """x"""
    return []
