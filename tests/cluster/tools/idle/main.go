// Command idle does nothing until it is told to end, and then ends well. It is the sandbox and the
// workload of the pods on the test bed's real node.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	<-ended
}
