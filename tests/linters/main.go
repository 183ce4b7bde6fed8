// Reads a container file as BuildKit does, and fails where it would.
package main

import (
	"log"
	"os"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func main() {
	log.SetFlags(0)
	file, err := os.Open(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	result, err := parser.Parse(file)
	if err != nil {
		log.Fatal(err)
	}
	for _, warning := range result.Warnings {
		log.Fatal(warning.Short)
	}
	if _, _, err := instructions.Parse(result.AST, nil); err != nil {
		log.Fatal(err)
	}
}
