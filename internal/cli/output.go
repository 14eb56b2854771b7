package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/pflag"
)

// RegisterOutput adds -o, --output: text for people, or JSON for scripts.
func RegisterOutput(flags *pflag.FlagSet, output *string) {
	flags.StringVarP(output, "output", "o", "text", "`form`: text or json")
}

// CheckOutput is a Usage error unless the flag has one of its two values.
func CheckOutput(output string) error {
	if output == "text" || output == "json" {
		return nil
	}
	return Exit(Usage, fmt.Errorf("read flag --output: it is %q, want text or json", output))
}

// WriteJSON writes a value for scripts, indented for people.
func WriteJSON(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // < and > are in messages
	return e.Encode(value)
}
