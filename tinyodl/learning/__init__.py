"""How a network learns: learners, and the features that go beside them."""
