// The LLVM tier's compiler: IR region -> LLVM IR -> optimised host code, by ORC.
#include "jit/runtime/region_compiler.h"

#include <llvm/Analysis/CGSCCPassManager.h>
#include <llvm/Analysis/LoopAnalysisManager.h>
#include <llvm/ExecutionEngine/Orc/LLJIT.h>
#include <llvm/IR/Verifier.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/TargetParser/Host.h>

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "jit/ir/vector_row.h"
#include "jit/llvm/function_builder.h"
#include "jit/llvm/slow_thunks.h"

namespace tandem::jit::llvm_tier {
namespace {

// instcombine would end the process where one round is not enough (its default is meant for LLVM's own tests).
// No loop unrolling or vectorising: guest loops carry memory checks, and compile time is the guest's waiting time.
constexpr const char* kPipeline =
    "function(sroa,early-cse<memssa>,instcombine<no-verify-fixpoint>,simplifycfg,loop-mssa(loop-rotate,licm),gvn,dse,"
    "instcombine<no-verify-fixpoint>,simplifycfg)";

Error to_error(llvm::Error e) { return {Errc::Internal, "LLVM: " + llvm::toString(std::move(e))}; }

// The vector extensions of the host beyond SSE, as far as rows of vector_ops.inc need them.
struct HostVectors {
    bool avx = false;  // with AVX2
    bool fma = false;
    bool f16c = false;

    static HostVectors detect() {
        const auto features = llvm::sys::getHostCPUFeatures();
        return {features.lookup("avx2"), features.lookup("fma"), features.lookup("f16c")};
    }
    [[nodiscard]] bool supports(const ir::Block& block, const ir::Inst& inst) const {
        if (avx && fma && f16c) return true;
        const ir::VectorRow& row = ir::vector_row(inst.op);
        if (row.form == ir::VectorForm::VFP3) return avx && fma;
        if (inst.op == ir::Op::CvtPH2PS || inst.op == ir::Op::CvtPS2PH) return avx && f16c;
        const bool predicate = inst.op >= ir::Op::CmpPS && inst.op <= ir::Op::CmpSD && inst.aux >= 8;
        const bool wide = ir::vector_type(block, inst) == ir::Type::V256 || ir::is_masked_access(inst.op);
        return avx || !(wide || predicate || row.encoding == ir::VectorEncoding::Avx);
    }
};

class OrcRegionCompiler final : public RegionCompiler {
public:
    explicit OrcRegionCompiler(const RegionCompilerOptions& options) : options_(options) {}

    Result<void> start() {
        auto target = llvm::orc::JITTargetMachineBuilder::detectHost();
        if (!target) return to_error(target.takeError());
        features_ = HostVectors::detect();
        // Either everything is VEX-encoded or nothing. What is EVEX-encoded has registers that the slow paths do not keep.
        target->getFeatures().AddFeature(features_.avx ? "avx512f" : "avx", false);
        target->setCodeGenOptLevel(llvm::CodeGenOptLevel::Default);
        auto machine = target->createTargetMachine();
        if (!machine) return to_error(machine.takeError());
        machine_ = std::move(*machine);
        auto jit = llvm::orc::LLJITBuilder().setJITTargetMachineBuilder(*target).create();
        if (!jit) return to_error(jit.takeError());
        jit_ = std::move(*jit);
        return {};
    }

    Result<CompiledRegion> compile(const Region& region) override {
        for (const ir::Block& block : region.blocks) {
            for (const ir::Inst& inst : block.insts) {
                if (!features_.supports(block, inst)) return Error{Errc::Unsupported, "the host lacks a vector instruction"};
            }
        }
        auto context = std::make_unique<llvm::LLVMContext>();
        const std::string name = "region" + std::to_string(next_handle_);
        auto module = std::make_unique<llvm::Module>(name, *context);
        module->setDataLayout(jit_->getDataLayout());
        module->setTargetTriple(machine_->getTargetTriple().str());
        FunctionBuilder(*module, region, options_, features_.avx).build(name);
        if (options_.verify) TANDEM_TRY(verify(*module));
        TANDEM_TRY(optimise(*module));
        if (logs(region)) print(*module, region);
        return emit(std::move(context), std::move(module), name);
    }

    void release(u64 handle) override {
        const auto it = trackers_.find(handle);
        if (it == trackers_.end()) return;
        if (auto e = it->second->remove()) llvm::consumeError(std::move(e));
        trackers_.erase(it);
    }

private:
    static Result<void> verify(const llvm::Module& module) {
        std::string text;
        llvm::raw_string_ostream out(text);
        if (llvm::verifyModule(module, &out)) return Error{Errc::Internal, "LLVM verifier: " + text};
        return {};
    }

    Result<void> optimise(llvm::Module& module) {
        llvm::LoopAnalysisManager loops;
        llvm::FunctionAnalysisManager functions;
        llvm::CGSCCAnalysisManager graphs;
        llvm::ModuleAnalysisManager modules;
        llvm::PassBuilder builder(machine_.get());
        builder.registerModuleAnalyses(modules);
        builder.registerCGSCCAnalyses(graphs);
        builder.registerFunctionAnalyses(functions);
        builder.registerLoopAnalyses(loops);
        builder.crossRegisterProxies(loops, functions, graphs, modules);
        llvm::ModulePassManager passes;
        if (auto e = builder.parsePassPipeline(passes, kPipeline)) return to_error(std::move(e));
        passes.run(module, modules);
        return {};
    }

    [[nodiscard]] bool logs(const Region& region) const {
        const auto overlaps = [this](const ir::Block& block) {
            return block.key.address() <= options_.log_address_high &&
                   block.key.address() + block.guest_bytes > options_.log_address_low;
        };
        return options_.log != nullptr && std::any_of(region.blocks.begin(), region.blocks.end(), overlaps);
    }

    void print(const llvm::Module& module, const Region& region) const {
        std::string text;
        llvm::raw_string_ostream out(text);
        module.print(out, nullptr);
        options_.log(fmt::format("LLVM: region at 0x{:x}, {} blocks\n{}", region.blocks[0].key.address(),
                                 region.blocks.size(), text));
    }

    Result<CompiledRegion> emit(std::unique_ptr<llvm::LLVMContext> context, std::unique_ptr<llvm::Module> module,
                                const std::string& name) {
        auto tracker = jit_->getMainJITDylib().createResourceTracker();
        if (auto e = jit_->addIRModule(tracker, llvm::orc::ThreadSafeModule(std::move(module), std::move(context)))) {
            return to_error(std::move(e));
        }
        auto symbol = jit_->lookup(name);
        if (!symbol) return to_error(symbol.takeError());
        CompiledRegion compiled;
        compiled.function = symbol->toPtr<RegionFunction>();
        compiled.handle = next_handle_++;
        trackers_.emplace(compiled.handle, std::move(tracker));
        return compiled;
    }

    const RegionCompilerOptions options_;
    HostVectors features_;
    std::unique_ptr<llvm::TargetMachine> machine_;
    std::unique_ptr<llvm::orc::LLJIT> jit_;
    std::map<u64, llvm::orc::ResourceTrackerSP> trackers_;
    u64 next_handle_ = 1;
};

}  // namespace
}  // namespace tandem::jit::llvm_tier

namespace tandem::jit {

extern "C" __attribute__((visibility("default"))) RegionCompiler* tandem_create_region_compiler(
    const RegionCompilerOptions* options, std::string* error) {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
    llvm::InitializeNativeTargetAsmParser();
    llvm_tier::set_slow_paths(options->slow_load, options->slow_store, options->slow_atomic);
    auto compiler = std::make_unique<llvm_tier::OrcRegionCompiler>(*options);
    if (auto started = compiler->start(); !started) {
        *error = started.error().message;
        return nullptr;
    }
    return compiler.release();
}

}  // namespace tandem::jit
