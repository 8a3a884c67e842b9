"""What black-box tests share: running the real programs and talking to them."""
