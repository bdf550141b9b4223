"""How good an adapter is, said in pictures, numbers and a sentence."""
