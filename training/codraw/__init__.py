"""CoDraw, picture stories told by people over clip art: read, drawn, and recognized in a picture."""
