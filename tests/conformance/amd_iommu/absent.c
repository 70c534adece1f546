// SPDX-License-Identifier: Apache-2.0
/*
 * What must not be there with EFR 8CCh: registers that read 0 and ignore writes, Control bits that
 * software finds absent by reading them back, and feature fields.
 */
#include "tests/conformance/amd_iommu/suite.h"

#define ONES (~UINT64_C(0))

#define NO_REGISTER(id, at, what)                                                                  \
	CASE("absent.reg." id, "3.2", 0, what ": reads 0, ignores writes", RD(at, 0),              \
	     WR(at, ONES), RD(at, 0), WR4(at, ONES), WR4((at) + 4, ONES), RD4(at, 0),              \
	     RD4((at) + 4, 0), RD(at, 0))
#define NO_CONTROL(id, mask, what)                                                                 \
	CASE("absent.control." id, "3.3", 33, what " reads back 0", WR(R_CONTROL, mask),           \
	     RD_BITS(R_CONTROL, mask, 0), WR(R_CONTROL, ONES & ~C_IOMMU_EN),                       \
	     RD_BITS(R_CONTROL, mask, 0), SET(C_IOMMU_EN), RD_BITS(R_CONTROL, mask, 0))
#define FEATURE(id, mask, want, what) CASE("efr." id, "3.4", 0, what, RD_BITS(R_EFR, mask, want))
#define B(high, low)		      GENMASK(high, low)

static const struct conformance_case cases[] = {
	NO_REGISTER("hw_event_high", 0x40, "no HESup"),
	NO_REGISTER("hw_event_low", 0x48, "no HESup"),
	NO_REGISTER("hw_event_status", 0x50, "no HESup"),
	NO_REGISTER("smi_filter_first", 0x60, "no SmiFSup"),
	NO_REGISTER("smi_filter_last", 0xd8, "no SmiFSup"),
	NO_REGISTER("ga_base", 0xe0, "no GAMSup"),
	NO_REGISTER("ga_tail_at", 0xe8, "no GAMSup"),
	NO_REGISTER("ppr_b_base", 0xf0, "no DualPprLogSup"),
	NO_REGISTER("evt_b_base", 0xf8, "no DualEvtLogSup"),
	NO_REGISTER("segment1", 0x100, "no DevTblSegSup"),
	NO_REGISTER("segment7", 0x130, "no DevTblSegSup"),
	NO_REGISTER("dsfx", 0x138, "no device-specific feature"),
	NO_REGISTER("dscx", 0x140, "no device-specific control"),
	NO_REGISTER("dssx", 0x148, "no device-specific status"),
	NO_REGISTER("msi_mirror", 0x158, "no MsiCapMmioSup"),
	NO_REGISTER("msi_address", 0x160, "no MsiCapMmioSup"),
	NO_REGISTER("perf_opt", 0x168, "no MsiCapMmioSup, no PerfOptSup"),
	NO_REGISTER("vmmio_status", 0x190, "no vIommuSup"),
	NO_REGISTER("reserved_a8", 0x1a8, "reserved"),
	NO_REGISTER("marc0", 0x200, "no MarcSup"),
	NO_REGISTER("marc3_length", 0x258, "no MarcSup"),
	NO_REGISTER("reserved_400", 0x400, "reserved"),
	NO_REGISTER("internal", 0x1ff8, "reserved for the unit's own use"),
	NO_REGISTER("reserved_2028", 0x2028, "reserved"),
	NO_REGISTER("ga_head", 0x2040, "no GAMSup"),
	NO_REGISTER("ga_tail", 0x2048, "no GAMSup"),
	NO_REGISTER("ppr_b_head", 0x2050, "no DualPprLogSup"),
	NO_REGISTER("ppr_b_tail", 0x2058, "no DualPprLogSup"),
	NO_REGISTER("evt_b_head", 0x2070, "no DualEvtLogSup"),
	NO_REGISTER("evt_b_tail", 0x2078, "no DualEvtLogSup"),
	NO_REGISTER("ppr_auto", 0x2080, "no PprAutoRspSup"),
	NO_REGISTER("ppr_early", 0x2088, "no PprOvrflwEarlySup"),
	NO_REGISTER("ppr_b_early", 0x2090, "no PprOvrflwEarlySup"),
	NO_REGISTER("window_last", 0x3ff8, "reserved"),

	NO_CONTROL("ppr", B(15, 13), "PPRLogEn, PPRIntEn, PPREn without PPRSup"),
	NO_CONTROL("gt", BIT(16), "GTEn without GTSup"),
	NO_CONTROL("smif", BIT(22) | BIT(24), "SmiFEn, SmiFLogEn without SmiFSup"),
	NO_CONTROL("gam", B(27, 25), "GAMEn without GAMSup"),
	NO_CONTROL("ga_log", BIT(28) | BIT(29), "GALogEn, GAIntEn without GAMSup"),
	NO_CONTROL("dual_ppr", B(31, 30), "DualPprLogEn without DualPprLogSup"),
	NO_CONTROL("dual_event", B(33, 32), "DualEventLogEn without DualEvtLogSup"),
	CASE("absent.control.segments", "3.3", 34, "DevTblSegEn above DevTblSegSup is rejected",
	     EACH_BIT(B(36, 34), 2), WR_BIT(R_CONTROL, C_COHERENT),
	     RD_BITS(R_CONTROL, B(36, 34) | C_COHERENT, C_COHERENT), WR(R_CONTROL, B(36, 34)),
	     RD_BITS(R_CONTROL, B(36, 34), 0)),
	NO_CONTROL("priv_abrt", B(38, 37), "PrivAbrtEn without USSup"),
	NO_CONTROL("ppr_auto_rsp", BIT(39) | BIT(42), "PprAutoRsp without PprAutoRspSup"),
	NO_CONTROL("marc", BIT(40), "MarcEn without MarcSup"),
	NO_CONTROL("blk_stop", BIT(41), "BlkStopMrkEn without BlkStopMrkSup"),
	NO_CONTROL("num_int_remap", B(44, 43), "NumIntRemapMode without NumIntRemapSup"),
	NO_CONTROL("eph", BIT(45), "EPHEn without EPHSup"),
	NO_CONTROL("had_update", B(47, 46), "HADUpdate without HASup and HDSup"),
	NO_CONTROL("gd_update", BIT(48), "GDUpdateDis without GTSup"),
	NO_CONTROL("reserved", BIT(49) | BIT(57), "reserved"),
	NO_CONTROL("viommu", B(53, 52), "vCmdEn, vIommuEn without vIommuSup"),
	NO_CONTROL("ga_update", BIT(54), "GAUpdateDis without GAUpdateDisSup"),
	NO_CONTROL("gappi", BIT(55), "GAPPIEn without GAPPISup"),
	NO_CONTROL("tmpm", BIT(56), "TMPMEn without TMPMSup"),
	NO_CONTROL("gcr3trp", BIT(58), "GCR3TRPMode without GCR3TRPModeSup"),
	CASE("absent.control.irt_cache", "3.3", 130, "IRTCacheDis reads back 0: there is no cache",
	     WR(R_CONTROL, BIT(59)), RD_BITS(R_CONTROL, BIT(59), 0), UP(BIT(59)),
	     RD_BITS(R_CONTROL, BIT(59), 0)),
	NO_CONTROL("gst_buf", BIT(60), "GstBufTRPMode without its feature"),
	NO_CONTROL("snp_avic", B(63, 61), "SnpAvicEn without SnpAvicSup"),
	CASE("absent.control.all", "3.3", 33, "all of these at once, and the unit works",
	     UP(B(16, 13) | BIT(22) | B(49, 24) | B(63, 52)), SYNC,
	     RD_BITS(R_CONTROL, B(16, 13) | BIT(22) | B(49, 24) | B(63, 52), 0),
	     STATUS(ONES, S_EVT_RUN | S_CMD_RUN)),
	CASE("absent.status", "3.6", 0, "no PPR or GA bit of Status is ever set",
	     UP(B(16, 13) | B(29, 25)), SYNC, RD(R_STATUS, S_EVT_RUN | S_CMD_RUN)),

	FEATURE("xt", BIT(2), BIT(2), "XTSup"),
	FEATURE("nx", BIT(3), BIT(3), "NXSup"),
	FEATURE("ia", BIT(6), BIT(6), "IASup"),
	FEATURE("ga", BIT(7), BIT(7), "GASup"),
	FEATURE("hats", B(11, 10), B(11, 11), "HATS 10b: 6 levels"),
	FEATURE("no_ppr", B(1, 0), 0, "no PreFSup, no PPRSup"),
	FEATURE("no_gt", BIT(4) | B(15, 12) | B(36, 32), 0, "no GTSup, nothing that hangs on it"),
	FEATURE("no_pc", BIT(9), 0, "no PCSup: the window is 16 KiB"),
	FEATURE("no_he", BIT(8), 0, "no HESup"),
	FEATURE("no_had", BIT(49) | BIT(52), 0, "no HASup, no HDSup"),
	FEATURE("no_snp", BIT(63), 0, "no SNPSup"),
	FEATURE("reserved", B(27, 26) | BIT(30), 0, "reserved bits are 0"),
};

CASE_GROUP(absent_cases, cases);
