"""How long the tests wait for what another process has to do. Only a fault takes that long; a busy machine may come near."""

PATIENCE_S = 30.0
