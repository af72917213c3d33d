package generator

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"golang.org/x/tools/txtar"
)

const explained = `package weather

import "context"

//protect:breaker
//protect:timeout 2s
//protect:retry 3 methods=Forecast
type Weather interface {
	//protect:limit 100/1m key=userID
	Forecast(ctx context.Context, userID string) error
	//protect:breaker name=alerts failures=2
	Alerts() error
	//protect:off
	Ping(ctx context.Context) error
	Name() string
}

//protect:wrap
type Bare interface {
	Call() error
}

//protect:timeout 1s
type Timed interface {
	Call(ctx context.Context) error
	Other() error
}

type Some interface {
	//protect:bulkhead 3
	One() error
	Other() error
}

//protect:pool size=2
type Pooled interface {
	Get() error
	Close() error
}
`

func explanations(t *testing.T) []Explanation {
	t.Helper()
	dir := module(t, []txtar.File{{Name: "weather.go", Data: []byte(explained)}})
	result, err := Run(t.Context(), Config{Dir: dir, Env: environment()})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Diagnostics) > 0 {
		t.Fatal(result.Diagnostics)
	}
	return result.Explanations
}

func TestExplainListsEveryMethodAndWhatProtectsIt(t *testing.T) {
	list := explanations(t)
	var table bytes.Buffer
	if err := WriteTable(&table, list); err != nil {
		t.Fatal(err)
	}
	want := `METHOD                    PROTECTED BY
weather.Weather.Forecast  limit 100/1m key=userID, breaker (weather.Weather), timeout 2s, retry 3
weather.Weather.Alerts    breaker failures=2 (alerts); without timeout
weather.Weather.Ping      unprotected: off
weather.Weather.Name      unprotected: has no error result, so that a refusal could not be reported
weather.Bare.Call         what is configured under its key
weather.Timed.Call        timeout 1s
weather.Timed.Other       unprotected: has no context.Context parameter, so that nothing would end the call
weather.Some.One          bulkhead 3
weather.Some.Other        unprotected: no directive
weather.Pooled.Get        pool size=2 (weather.Pooled)
weather.Pooled.Close      unprotected: closes the pools
`
	if got := table.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestExplainForMachinesSaysTheSame(t *testing.T) {
	list := explanations(t)
	var b bytes.Buffer
	if err := WriteJSON(&b, list); err != nil {
		t.Fatal(err)
	}
	var read []Explanation
	if err := json.Unmarshal(b.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	for i := range list {
		list[i].Position = read[i].Position
	}
	if !reflect.DeepEqual(read, list) {
		t.Errorf("read %+v\nwant %+v", read, list)
	}
	first := read[0]
	want := []Layer{
		{Name: "limit", Setting: "100/1m key=userID", Part: "weather.Weather.Forecast", From: "method"},
		{Name: "breaker", Part: "weather.Weather", From: "interface"},
		{Name: "timeout", Setting: "2s", From: "interface"},
		{Name: "retry", Setting: "3", From: "interface"},
	}
	if first.Package != "example.com/m" || first.Interface != "Weather" || first.Method != "Forecast" || !first.Protected || !reflect.DeepEqual(first.Layers, want) {
		t.Errorf("first is %+v", first)
	}
}

func TestExplainOfNothingIsAnEmptyArray(t *testing.T) {
	var b bytes.Buffer
	if err := WriteJSON(&b, nil); err != nil {
		t.Fatal(err)
	}
	if b.String() != "[]\n" {
		t.Errorf("%q", b.String())
	}
}

func TestExplainSaysOnceWhatHoldsOnEverySystem(t *testing.T) {
	// given one interface in a file for each of two systems
	const source = "package p\n\n//protect:limit 5/s\ntype A interface{ M() error }\n"
	dir := module(t, []txtar.File{
		{Name: "a_linux.go", Data: []byte(source)},
		{Name: "a_windows.go", Data: []byte(source)},
	})
	result, err := Run(t.Context(), Config{Dir: dir, Env: environment("GOOS=linux")})
	if err != nil {
		t.Fatal(err)
	}
	// then each gets a file, and both together one line
	if len(result.Files) != 2 || len(result.Explanations) != 1 {
		t.Errorf("%d files, %v", len(result.Files), result.Explanations)
	}
}
