package fnapi_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"fresnel/fnapi/boot"
	"fresnel/fnapi/fnapitest"
)

// TestMain lets the test binary be the programs that the tests start:
//
//	fnapi.test harness NAME FLAGS   a scripted harness
//	fnapi.test boot FLAGS           fresnel boot
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "harness":
			harnessMain(os.Args[2], os.Args[3:])
			return
		case "boot":
			bootMain(os.Args[2:])
			return
		}
	}
	os.Exit(m.Run())
}

func containerFlags(args []string) (id, control, provision string) {
	fs := flag.NewFlagSet("harness", flag.ExitOnError)
	fs.StringVar(&id, "id", "", "")
	fs.StringVar(&control, "control_endpoint", "", "")
	fs.StringVar(&provision, "provision_endpoint", "", "")
	fs.String("logging_endpoint", "", "")
	fs.String("artifact_endpoint", "", "")
	_ = fs.Parse(args) // exits
	return id, control, provision
}

// harnessVariables are what a harness without flags is told.
func harnessVariables() (id, control string) {
	endpoint := strings.TrimPrefix(os.Getenv("CONTROL_API_SERVICE_DESCRIPTOR"), "url: ")
	control, err := strconv.Unquote(endpoint)
	if err != nil {
		fmt.Println("no endpoint:", endpoint, "with options", os.Getenv("PIPELINE_OPTIONS"))
	}
	return os.Getenv("WORKER_ID"), control
}

func harnessMain(name string, args []string) {
	id, control, _ := containerFlags(args)
	if id == "" {
		id, control = harnessVariables()
	}
	script := fnapitest.Echo
	switch name {
	case "silence":
		os.Exit(1)
	case "crash":
		fmt.Println("ImportError: no module named moon")
		os.Exit(3)
	case "chat":
		for i := range 50_000 {
			fmt.Println(i, strings.Repeat("chatter ", 20))
		}
	case "exit":
		script = func(b *fnapitest.Bundle) error {
			b.Next()
			fmt.Println("Fatal Python error: Segmentation fault")
			os.Exit(139)
			return nil
		}
	case "stumble":
		// The first works, for a while; then many do not even start.
		if starts := appendLine(os.Getenv("HARNESS_STARTS")); starts > 1 && starts < 6 {
			os.Exit(3)
		}
		script = func(b *fnapitest.Bundle) error {
			b.Next()
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
	fmt.Println("harness", name, "of", os.Getenv("HARNESS_OWNER"), "starts")
	h, err := fnapitest.Connect(control, id, script)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	<-h.Done()
}

// appendLine adds a line to a file and returns how many it has.
func appendLine(file string) int {
	text, _ := os.ReadFile(file)
	text = append(text, '\n')
	_ = os.WriteFile(file, text, 0o600)
	return len(text)
}

func bootMain(args []string) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	id, control, provision := containerFlags(args)
	err := boot.Run(ctx, boot.Config{ID: id, Control: control, Provision: provision, Print: func(line string) { fmt.Println(line) }})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
