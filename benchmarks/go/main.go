// How long the OpenTelemetry Collector's own classes (pdata) take to read what `cargo bench --bench decode` reads.
//
//	go run . FILE [ROUNDS]
//
// FILE holds requests, each behind its length as a big-endian u32, not compressed. Printed is one line of JSON: how
// many spans and attributes there are, and the CPU time of each round in ns a span, garbage collection included.
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

type result struct {
	Go         string    `json:"go"`
	Pdata      string    `json:"pdata"`
	Spans      int       `json:"spans"`
	Attributes int       `json:"attributes"`
	NsPerSpan  []float64 `json:"ns_per_span"`
}

func main() {
	runtime.GOMAXPROCS(1)
	file, err := os.ReadFile(os.Args[1])
	check(err)
	rounds := 9
	if len(os.Args) > 2 {
		rounds, err = strconv.Atoi(os.Args[2])
		check(err)
	}
	requests := frames(file)
	r := result{Go: runtime.Version(), Pdata: version()}
	r.Spans, r.Attributes = count(requests)
	for range rounds {
		r.NsPerSpan = append(r.NsPerSpan, float64(readAll(requests))/float64(r.Spans))
	}
	check(json.NewEncoder(os.Stdout).Encode(r))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "go.opentelemetry.io/collector/pdata" {
			return module.Version
		}
	}
	return ""
}

func frames(file []byte) [][]byte {
	var requests [][]byte
	for len(file) >= 4 {
		size := binary.BigEndian.Uint32(file)
		requests = append(requests, file[4:4+size])
		file = file[4+size:]
	}
	return requests
}

// readAll reads every request once, keeps none, and returns the CPU time in ns.
func readAll(requests [][]byte) int64 {
	runtime.GC()
	start := cpu()
	for _, request := range requests {
		read(request)
	}
	return cpu() - start
}

func read(request []byte) ptraceotlp.ExportRequest {
	message := ptraceotlp.NewExportRequest()
	check(message.UnmarshalProto(request))
	return message
}

// cpu is the CPU time of this process in ns.
func cpu() int64 {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// count says how many spans there are and how many attributes they have, to be compared with what others find.
func count(requests [][]byte) (spans, attributes int) {
	for _, request := range requests {
		resources := read(request).Traces().ResourceSpans()
		for i := range resources.Len() {
			scopes := resources.At(i).ScopeSpans()
			for j := range scopes.Len() {
				list := scopes.At(j).Spans()
				spans += list.Len()
				for k := range list.Len() {
					span := list.At(k)
					attributes += span.Attributes().Len()
					for l := range span.Events().Len() {
						attributes += span.Events().At(l).Attributes().Len()
					}
				}
			}
		}
	}
	return spans, attributes
}
