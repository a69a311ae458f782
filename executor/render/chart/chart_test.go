package chart

import (
	"bytes"
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"kgent/executor/output"
)

var save = flag.String("save", "", "a directory to write the pictures to, to look at them")

func log2(from int, counts ...uint64) []output.Bucket {
	var out []output.Bucket
	for i, n := range counts {
		out = append(out, output.Bucket{Min: 1 << (from + i), Max: 1<<(from+i+1) - 1, Count: n})
	}
	return out
}

func linear(step uint64, counts ...uint64) []output.Bucket {
	var out []output.Bucket
	for i, n := range counts {
		out = append(out, output.Bucket{Min: uint64(i) * step, Max: uint64(i+1)*step - 1, Count: n})
	}
	return out
}

func wave(label string, phase, size float64) Line {
	l := Line{Label: label}
	for i := range 60 {
		l.Points = append(l.Points, Point{time.Date(2026, 3, 4, 3, 0, i, 0, time.UTC), size * (2 + math.Sin(float64(i)/6+phase))})
	}
	return l
}

func figures() map[string]Figure {
	fsync := log2(12, 3, 14, 159, 2653, 5897, 932, 384, 62, 6, 43, 383, 27, 9, 5, 1)
	var many []Part
	for i := range 9 {
		b := log2(12+i%3, 3, 14, 159, 2653, uint64(5897/(i+1)), 932, 384, 62, 6, uint64(43*i), 383, 27)
		many = append(many, Part{fmt.Sprintf("db-%d.eu-central.example", i+1), b})
	}
	return map[string]Figure{
		"histogram": Histogram{Heading{"fsync latency of postgres", "10,578 values on db-1, db-2 in 60 s"}, "ns", fsync},
		"linear":    Histogram{Heading{"queue length", "1,024 values in 30 s"}, "count", linear(5, 100, 300, 220, 180, 120, 60, 30, 10, 4)},
		"sizes":     Histogram{Heading{"write sizes", "5 values; 12 events lost in the kernel"}, "bytes", log2(9, 3, 1, 0, 1)},
		"one":       Histogram{Heading{"one bucket", ""}, "us", log2(3, 7)},
		"none":      Histogram{Heading{"nothing", "0 values"}, "ns", nil},
		"panels":    Panels{Heading{"block I/O latency", "by node, 60 s"}, "ns", []Part{{"db-1", fsync}, {"db-2", log2(16, 3, 5, 800, 300, 20, 1)}, {"db-3", nil}}},
		"heat":      Heat{Heading{"block I/O latency", "by node, 60 s; the stronger, the more of a node's values"}, "ns", many},
		"bars": Bars{Heading: Heading{"file opens by command", "23,456 opens in 30 s on db-1"}, Unit: "count", More: 12, Rest: 345, Rows: []Bar{{"systemd-journald", 12044}, {"postgres", 8123},
			{"/usr/lib/jvm/java-21-openjdk-amd64/bin/java -jar service.jar --with=arguments", 2100}, {"nginx", 640}, {"sshd", 33}, {"cron", 1}}},
		"bars-time":  Bars{Heading: Heading{"time off CPU", "by stack"}, Unit: "ns", Rows: []Bar{{"a", 12.5e9}, {"b", 1.5e6}, {"c", 0}}},
		"series":     Series{Heading: Heading{"opens a second", "by node, every second, UTC"}, Unit: "count", Lines: []Line{wave("db-1", 0, 1200), wave("db-2", 2, 700), wave("db-3", 4, 300)}},
		"series-one": Series{Heading: Heading{"bytes written", "one reading"}, Unit: "bytes", Lines: []Line{{"db-1", []Point{{time.Unix(1e9, 0), 4096}}}}},
		"flame":      flame(12, "postgres", 1),
		"flame-deep": flame(60, "kgent", 3),
		"flame-none": &Flame{Heading: Heading{Title: "nothing"}},
		"hostile":    Panels{Heading{strings.Repeat("W", 5000), "中文 \x1b[31m \u202e"}, "nonsense", []Part{{strings.Repeat("é", 900), []output.Bucket{{Min: 5, Max: 2, Count: math.MaxUint64}, {Min: 0, Max: math.MaxUint64, Count: math.MaxUint64}}}}},
	}
}

func TestFigures(t *testing.T) {
	for name, f := range figures() {
		t.Run(name, func(t *testing.T) {
			if f.Alt() == "" {
				t.Error("no words")
			}
			b, err := PNG(f, Light())
			if err != nil {
				t.Fatal(err)
			}
			c, err := png.DecodeConfig(bytes.NewReader(b))
			if err != nil || c.Width != width*scale || c.Height > maxHeight*scale || len(b) > 400<<10 {
				t.Errorf("%d by %d, %d bytes: %v", c.Width, c.Height, len(b), err)
			}
			if *save == "" {
				return
			}
			dark, err := PNG(f, Dark())
			if err != nil {
				t.Fatal(err)
			}
			for suffix, b := range map[string][]byte{"light": b, "dark": dark} {
				if err := os.WriteFile(filepath.Join(*save, name+"-"+suffix+".png"), b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// The same figure gives the same picture, and another theme the same in other
// colours.
func TestThemes(t *testing.T) {
	f := figures()["bars"]
	once, err1 := PNG(f, Light())
	again, err2 := PNG(f, Light())
	dark, err3 := PNG(f, Dark())
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(once, again) || bytes.Equal(once, dark) {
		t.Error("the same figure gave another picture, or both themes the same one")
	}
}

// pixels counts the pixels of a colour in a rectangle of units.
func pixels(img *image.RGBA, r image.Rectangle, like func(r, g, b uint8) bool) int {
	n := 0
	for y := r.Min.Y * scale; y < r.Max.Y*scale; y++ {
		for x := r.Min.X * scale; x < r.Max.X*scale; x++ {
			if c := img.RGBAAt(x, y); like(c.R, c.G, c.B) {
				n++
			}
		}
	}
	return n
}

// The longest bar is as much longer than another as its value is larger.
func TestBarsAreInProportion(t *testing.T) {
	theme := Light()
	img, err := render(Bars{Heading: Heading{Title: "x"}, Rows: []Bar{{"a", 100}, {"b", 50}, {"c", 1}, {"d", 0}}}, theme)
	if err != nil {
		t.Fatal(err)
	}
	var got []int
	for i := range 4 {
		y := top + i*barHeight
		got = append(got, pixels(img, image.Rect(0, y+10, width, y+11), func(r, g, b uint8) bool { return r == theme.bar.R && g == theme.bar.G && b == theme.bar.B })/scale)
	}
	if got[0] < width || got[1] < got[0]/2-2 || got[1] > got[0]/2+2 || got[2] < 4 || got[3] != 0 {
		t.Errorf("lengths %v", got)
	}
}

// Columns stand above their buckets in proportion, and the mark of the median
// is where it belongs.
func TestColumnsAreInProportion(t *testing.T) {
	theme := Light()
	img, err := render(Histogram{Heading{Title: "x"}, "ns", log2(10, 10, 100, 50, 0)}, theme)
	if err != nil {
		t.Fatal(err)
	}
	x0, w := margin+54, widestColumn
	var got []int
	for i := range 4 {
		mid := x0 + i*w + w/2
		got = append(got, pixels(img, image.Rect(mid, 0, mid+1, 460), func(r, g, b uint8) bool { return r == theme.bar.R && g == theme.bar.G && b == theme.bar.B })/scale)
	}
	if got[1] < 10*got[0]-20 || got[1] > 10*got[0]+20 || got[1] < 2*got[2]-4 || got[1] > 2*got[2]+4 || got[3] != 0 {
		t.Errorf("heights %v", got)
	}
}

func TestQuantity(t *testing.T) {
	for _, tt := range []struct {
		unit       string
		v          float64
		about, exa string
	}{
		{"ns", 0, "0 ns", "0 ns"}, {"ns", 512, "512 ns", "512 ns"}, {"ns", 1024, "1 µs", "1 µs"}, {"ns", 4096, "4 µs", "4.1 µs"}, {"ns", 16384, "16 µs", "16.4 µs"}, {"ns", 1 << 20, "1 ms", "1 ms"},
		{"ns", 1.5e9, "1.5 s", "1.5 s"}, {"us", 250, "250 µs", "250 µs"}, {"us", 1e6, "1 s", "1 s"}, {"ms", 90e3, "90 s", "90 s"}, {"ns", 300e9, "5 min", "5 min"}, {"ns", 1e14, "28 h", "27.8 h"}, {"ns", 1e16, "116 d", "116 d"},
		{"bytes", 512, "512 B", "512 B"}, {"bytes", 1024, "1 KiB", "1 KiB"}, {"bytes", 1536, "1.5 KiB", "1.5 KiB"}, {"bytes", 1 << 30, "1 GiB", "1 GiB"},
		{"count", 7, "7", "7"}, {"count", 9999, "9,999", "9,999"}, {"count", 12044, "12k", "12,044"}, {"", 1.25e6, "1.2M", "1,250,000"}, {"", 0.5, "0.5", "0.5"}, {"", -3, "−3", "−3"},
	} {
		if a, e := about(tt.unit, tt.v), exact(tt.unit, tt.v); a != tt.about || e != tt.exa {
			t.Errorf("%v %s: about %q, exact %q, want %q, %q", tt.v, tt.unit, a, e, tt.about, tt.exa)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, tt := range []struct {
		unit  string
		limit float64
		n     int
		want  string
	}{
		{"", 100, 4, "[0 50 100]"}, {"", 5897, 4, "[0 2000 4000 6000]"}, {"", 1, 4, "[0 1]"}, {"", 0, 4, "[0 1]"}, {"bytes", 4096, 4, "[0 1024 2048 3072 4096]"}, {"ns", 0.5, 2, "[0 0.5]"},
		{"", math.Inf(1), 3, "[0 1]"}, {"", math.NaN(), 3, "[0 1]"}, {"", math.MaxFloat64, 3, ""},
	} {
		got := ticks(tt.unit, tt.limit, tt.n)
		if s := fmt.Sprint(got); tt.want != "" && s != tt.want || len(got) > tt.n+1 {
			t.Errorf("%v: got %s, want %s", tt.limit, s, tt.want)
		}
	}
}

// The fonts are part of the picture: that a known one comes out the same says
// that nothing depends on the machine or the order of a map.
func TestSameEverywhere(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the sum is of amd64: other processors round the edges of letters differently")
	}
	img, err := render(Histogram{Heading{"fsync", "3 values"}, "ns", log2(10, 1, 2)}, Light())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(img.Pix))[:16]; got != "5c5f6f19fe608d44" {
		t.Errorf("another picture: %s; look at it with -save, and put the new sum here if it is right", got)
	}
}

func FuzzHistogram(f *testing.F) {
	f.Add("x", "ns", uint64(1), uint64(2), uint64(3), uint64(4), uint64(5), uint64(6))
	f.Add("", "bytes", uint64(math.MaxUint64), uint64(0), uint64(math.MaxUint64), uint64(0), uint64(1<<63), uint64(math.MaxUint64))
	f.Fuzz(func(t *testing.T, title, unit string, a, b, c, d, e, g uint64) {
		buckets := []output.Bucket{{Min: a, Max: b, Count: c}, {Min: d, Max: e, Count: g}}
		for _, fig := range []Figure{Histogram{Heading{title, unit}, unit, buckets}, Panels{Heading{title, unit}, unit, []Part{{title, buckets}}},
			Bars{Heading: Heading{title, unit}, Unit: unit, Rows: []Bar{{title, float64(a)}, {unit, -float64(b)}}, More: int(a)}} {
			if _, err := PNG(fig, Light()); err != nil {
				t.Fatal(err)
			}
			fig.Alt()
		}
	})
}

func BenchmarkHistogram(b *testing.B) {
	f := figures()["histogram"]
	for b.Loop() {
		if _, err := PNG(f, Light()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeries(b *testing.B) {
	f := figures()["series"]
	for b.Loop() {
		if _, err := PNG(f, Light()); err != nil {
			b.Fatal(err)
		}
	}
}

// flame is a profile of several processes, some of whose stacks are deep.
func flame(depth int, comm string, seed uint64) *Flame {
	f := &Flame{Heading: Heading{"where CPU time goes", "2,970 samples on db-1 in 30 s"}, Unit: "count"}
	r := rand.New(rand.NewPCG(seed, 7))
	names := []string{"exec_simple_query", "example.com/team/server/handler.(*Server).ServeHTTP", "PortalRun", "ExecutorRun", "std::vector<int, std::allocator<int>>::push_back(int const&)", "heap_getnext", "hash_search"}
	kernel := []string{"entry_SYSCALL_64_after_hwframe", "do_syscall_64", "vfs_read", "ext4_file_read_iter", "copy_page_to_iter", "_copy_to_iter"}
	for i := range 120 {
		stack := []Function{{comm, "", Task}, {"_start", comm, Program}, {"main", comm, Program}}
		for j := range 3 + r.IntN(depth) {
			n := names[(j*j+r.IntN(1+j/3))%len(names)]
			stack = append(stack, Function{n, comm, Program})
		}
		switch i % 4 {
		case 0:
			stack = append(stack, Function{"__read", "libc.so.6", Library})
			for j := range 2 + r.IntN(len(kernel)-2) {
				stack = append(stack, Function{kernel[j], "", Kernel})
			}
		case 1:
			stack = append(stack, Function{"malloc", "libc.so.6", Library})
		}
		f.Add(stack, uint64(1+r.IntN(60)))
	}
	f.Add([]Function{{"swapper/0", "", Task}, {"[stack lost: the stack map is full]", "", Unknown}}, 40)
	f.Add([]Function{{"kworker/1:1H", "", Task}, {"ret_from_fork_asm", "", Kernel}, {"kthread", "", Kernel}, {"worker_thread", "", Kernel}}, 90)
	return f
}

// What was counted is all in the picture's tree: every frame is as wide as what
// ends in it and what it calls.
func TestFlameAdds(t *testing.T) {
	f := flame(60, "kgent", 3)
	for name, root := range map[string]*frame{"as counted": &f.root, "joined": f.root.joined(2)} {
		root.walk(func(x *frame, _ int) {
			sum := x.self
			for _, c := range x.callees {
				sum += c.total
			}
			if sum != x.total {
				t.Errorf("%s: %s has %d, its parts %d", name, x.Name, x.total, sum)
			}
		}, 0)
		if root.total != f.Total() {
			t.Errorf("%s: %d in all, want %d", name, root.total, f.Total())
		}
	}
	self := uint64(0)
	for _, h := range f.Hottest(1 << 20) {
		self += h.Self
	}
	if self != f.Total() {
		t.Errorf("the functions have %d, want %d", self, f.Total())
	}
	if boxes, rows, _ := f.shown(); rows > flameRows || len(boxes) == 0 {
		t.Errorf("%d boxes in %d rows", len(boxes), rows)
	}
	for _, b := range f.root.boxes(0.001, 40) {
		if b.x < 0 || b.x+b.w > 1+1e-9 {
			t.Errorf("%s stands at %v, %v wide", b.Name, b.x, b.w)
		}
	}
}

func TestShortName(t *testing.T) {
	for in, want := range map[string]string{
		"example.com/a/smt.(*Builder).Add": "smt.(*Builder).Add", "main": "main", "a/b.F[go.shape./x]": "b.F[go.shape./x]",
		"": "",
	} {
		if got := local(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"example.com/a/smt.(*Builder).Add": "Add", "std::vector<a::b>::push_back": "vector<a::b>::push_back", "Server::handle": "handle", "main": "main",
		"slices.pdqsortOrdered[go.shape.int]": "pdqsortOrdered[go.shape.int]", "x.": "x.", "": "",
		"runtime.goexit.abi0": "goexit", "sync.(*WaitGroup).Go.func1": "Go.func1", "main.f.func2.1": "f.func2.1",
	} {
		if got := leaf(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// An SVG is well-formed whatever the names, and holds nothing of them but text.
func TestSVG(t *testing.T) {
	hostile := &Flame{Heading: Heading{`<script>alert(1)</script>`, `]]> "' &amp;`}}
	hostile.Add([]Function{{`"><script>x</script>`, `" onload="x`, Task}, {"a\x00\x1b\xff", "]]>", Program}, {strings.Repeat("W", 5000), "", Kernel}}, 3)
	for name, f := range map[string]*Flame{"flame": flame(12, "postgres", 1), "deep": flame(60, "kgent", 3), "none": {}, "hostile": hostile} {
		b := f.SVG()
		if *save != "" {
			if err := os.WriteFile(filepath.Join(*save, name+".svg"), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		scripts, boxes := 0, 0
		d := xml.NewDecoder(bytes.NewReader(b))
		for {
			tok, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			e, ok := tok.(xml.StartElement)
			if !ok {
				continue
			}
			if e.Name.Local == "script" {
				scripts++
			}
			for _, a := range e.Attr {
				if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "href" {
					t.Errorf("%s: attribute %s", name, a.Name.Local)
				}
				if a.Name.Local == "class" && a.Value == "f" {
					boxes++
				}
			}
		}
		if scripts != 1 || (boxes > 0) != (f.Total() > 0) {
			t.Errorf("%s: %d scripts, %d boxes of %d", name, scripts, boxes, f.Total())
		}
	}
}
