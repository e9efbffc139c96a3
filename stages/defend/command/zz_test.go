package command
import ("testing";"os";"strings";"fmt")
func TestZZ(t *testing.T){ f:=os.Getenv("ZZ"); if f==""{t.Skip()}; raw,_:=os.ReadFile(f); j:=mustJudge(t); var r Result
for l:=range strings.SplitSeq(string(raw),"\n"){ j.Assess(&r,[]byte(l)); w:=""; for _,x:=range r.Findings{ if x.Decision==r.Decision {w=x.Reason} }; fmt.Printf("%.3s %3.0f %.90s | %s\n",r.Decision,r.Score,l,w)}}
