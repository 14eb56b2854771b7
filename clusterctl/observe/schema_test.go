package observe

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"picluster/internal/golden"
	"picluster/internal/joinapi"
)

// words are the values of the types that have a fixed set of them.
var words = map[reflect.Type][]any{
	reflect.TypeFor[Health]():        {Healthy, Degraded, Broken, Unknown},
	reflect.TypeFor[Phase]():         {Off, Booted, Provisioned, Joined, Ready},
	reflect.TypeFor[Severity]():      {Note, Warn, Serious},
	reflect.TypeFor[joinapi.State](): {joinapi.Provisioned, joinapi.Waiting, joinapi.Enrolled, joinapi.TokenIssued, joinapi.Joined, joinapi.RevokedState, joinapi.Replaced, joinapi.Removed},
}

// schemaOf is the JSON Schema of what encoding/json makes of a type.
func schemaOf(t reflect.Type) map[string]any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case words[t] != nil:
		return map[string]any{"enum": words[t]}
	case t.Kind() == reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case t.Kind() == reflect.Struct:
		properties, required := map[string]any{}, []string{}
		for i := range t.NumField() {
			name, options, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			properties[name] = schemaOf(t.Field(i).Type)
			if options == "" {
				required = append(required, name)
			}
		}
		return map[string]any{"type": "object", "properties": properties, "required": required}
	case t.Kind() == reflect.Bool:
		return map[string]any{"type": "boolean"}
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return map[string]any{"type": "integer"}
	}
	return map[string]any{"type": "string"}
}

// What scripts rely on is in docs/: a change of it is seen in a review, and one that
// takes something away is a new Version.
func TestSchema_isTheOneThatIsDocumented(t *testing.T) {
	schema := schemaOf(reflect.TypeFor[Snapshot]())
	schema["$schema"], schema["title"] = "https://json-schema.org/draft/2020-12/schema", "clusterctl status -o json"
	schema["properties"].(map[string]any)["version"] = map[string]any{"const": Version}
	data, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden.Equal(t, "../../docs/status.schema.json", append(data, '\n'))
}

// Another's implementation of JSON Schema judges what Look gives.
func TestSchema_holdsForSnapshots(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../../docs/status.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range snapshots(t) {
		data, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s: %v\n%s", name, err, data)
		}
	}
}
