"""What is made of images' features: kept, searched, learned from, laid out; numpy in, numpy out."""
