// The cases of franz-go against one broker: its own client, its admin client, and single requests in every version
// that a broker speaks, which no client sends by itself.
//
// usage: clients <bootstrap> [word in a case's name]...
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

const (
	client   = "go"
	parallel = 6
	// A case that hangs is a failure, not the end of the run.
	limit = 120 * time.Second
)

type oneCase struct {
	name string
	run  func(*broker) string
}

var cases []oneCase

func add(name string, run func(*broker) string) bool {
	cases = append(cases, oneCase{name, run})
	return true
}

// failure is what `fail` throws: the case ends, the suite goes on.
type failure string

func fail(format string, arguments ...any) {
	panic(failure(fmt.Sprintf(format, arguments...)))
}

func must(err error, what string) {
	if err != nil {
		fail("%s: %v", what, err)
	}
}

func expect[T comparable](what string, got, want T) {
	if got != want {
		fail("%s: expected %v, got %v", what, want, got)
	}
}

// eventually asks until the condition holds.
func eventually(what string, seconds int, condition func() bool) {
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	for !condition() {
		if time.Now().After(end) {
			fail("waited in vain: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func outcome(b *broker, one oneCase) string {
	done := make(chan string, 1)
	go func() {
		defer func() {
			switch thrown := recover().(type) {
			case nil:
			case failure:
				done <- fmt.Sprintf("case %s %s fail %s", client, one.name, b.plain(string(thrown)))
			default:
				fmt.Fprintln(os.Stderr, one.name, thrown, string(debug.Stack()))
				done <- fmt.Sprintf("case %s %s fail %s", client, one.name, b.plain(fmt.Sprint(thrown)))
			}
		}()
		done <- strings.TrimSpace(fmt.Sprintf("case %s %s ok %s", client, one.name, one.run(b)))
	}()
	select {
	case line := <-done:
		return line
	case <-time.After(limit):
		return fmt.Sprintf("case %s %s fail no end", client, one.name)
	}
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: clients <bootstrap> [word in a case's name]...")
		os.Exit(64)
	}
	b := connect(os.Args[1])
	var lines []chan string
	var slots = make(chan struct{}, parallel)
	var all sync.WaitGroup
	for _, one := range cases {
		chosen := len(os.Args) == 2
		for _, word := range os.Args[2:] {
			chosen = chosen || strings.Contains(one.name, word)
		}
		if !chosen {
			continue
		}
		line := make(chan string, 1)
		lines = append(lines, line)
		all.Add(1)
		go func() {
			defer all.Done()
			slots <- struct{}{}
			line <- outcome(b, one)
			<-slots
		}()
	}
	for _, line := range lines {
		fmt.Println(<-line)
	}
	all.Wait()
}
