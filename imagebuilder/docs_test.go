package main

import (
	"testing"

	"picluster/internal/doccheck"
)

func TestDocs_sayWhatTheProgramSays(t *testing.T) { doccheck.Program(t, program()) }
