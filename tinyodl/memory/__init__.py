"""Where every tensor of a step lies: one static arena, planned before flashing.

`gradient_sums`, `by_channels` and `rows` change the order of work so that less is alive at once;
`arena` makes blocks of what is left, `placement` finds their offsets.
"""
